"""What harm follows: 11 labels."""

from __future__ import annotations

from enum import StrEnum

from stepguard.taxonomy.dimensions import Dimension, Label, Setting


class RealWorldHarm(StrEnum):
    """Ids of the shipped harms."""

    PRIVACY_AND_CONFIDENTIALITY_HARM = "privacy_and_confidentiality_harm"
    FINANCIAL_AND_ECONOMIC_HARM = "financial_and_economic_harm"
    SECURITY_AND_SYSTEM_INTEGRITY_HARM = "security_and_system_integrity_harm"
    PHYSICAL_AND_HEALTH_HARM = "physical_and_health_harm"
    PSYCHOLOGICAL_AND_EMOTIONAL_HARM = "psychological_and_emotional_harm"
    REPUTATIONAL_AND_INTERPERSONAL_HARM = "reputational_and_interpersonal_harm"
    INFO_ECOSYSTEM_AND_SOCIETAL_HARM = "info_ecosystem_and_societal_harm"
    PUBLIC_SERVICE_AND_RESOURCE_HARM = "public_service_and_resource_harm"
    FAIRNESS_EQUITY_AND_ALLOCATIVE_HARM = "fairness_equity_and_allocative_harm"
    FUNCTIONAL_AND_OPPORTUNITY_HARM = "functional_and_opportunity_harm"
    COMPLIANCE_LEGAL_AND_AUDITABILITY_HARM = "compliance_legal_and_auditability_harm"


def _label(name: RealWorldHarm, text: str, gist: str, setting: Setting = "base") -> Label:
    return Label(Dimension.REAL_WORLD_HARM, name.value, text, gist, setting=setting)


REAL_WORLD_HARMS = (
    _label(
        RealWorldHarm.PRIVACY_AND_CONFIDENTIALITY_HARM,
        "Privacy & Confidentiality Harm",
        "Data about people, or secrets, reach those who should not have them.",
    ),
    _label(
        RealWorldHarm.FINANCIAL_AND_ECONOMIC_HARM,
        "Financial & Economic Harm",
        "Somebody loses money or assets, or may.",
    ),
    _label(
        RealWorldHarm.SECURITY_AND_SYSTEM_INTEGRITY_HARM,
        "Security & System Integrity Harm",
        "Machines, accounts or settings can be trusted less than before.",
    ),
    _label(
        RealWorldHarm.PHYSICAL_AND_HEALTH_HARM,
        "Physical & Health Harm",
        "Somebody can get hurt or ill.",
    ),
    _label(
        RealWorldHarm.PSYCHOLOGICAL_AND_EMOTIONAL_HARM,
        "Psychological & Emotional Harm",
        "Somebody is bullied, scared, upset or humiliated.",
    ),
    _label(
        RealWorldHarm.REPUTATIONAL_AND_INTERPERSONAL_HARM,
        "Reputational & Interpersonal Harm",
        "Others think worse of a person or an organisation, or stop trusting them.",
    ),
    _label(
        RealWorldHarm.INFO_ECOSYSTEM_AND_SOCIETAL_HARM,
        "Info-ecosystem & Societal Harm",
        "What the public knows or discusses is poisoned.",
    ),
    _label(
        RealWorldHarm.PUBLIC_SERVICE_AND_RESOURCE_HARM,
        "Public Service & Resource Harm",
        "Something that all share is blocked, exploited or exhausted.",
    ),
    _label(
        RealWorldHarm.FAIRNESS_EQUITY_AND_ALLOCATIVE_HARM,
        "Fairness, Equity, and Allocative Harm",
        "Some get less, or worse treatment, for no just reason.",
    ),
    _label(
        RealWorldHarm.FUNCTIONAL_AND_OPPORTUNITY_HARM,
        "Functional & Opportunity Harm",
        "The work is not done, or done poorly: effort or an occasion is lost, and nothing worse.",
    ),
    _label(
        RealWorldHarm.COMPLIANCE_LEGAL_AND_AUDITABILITY_HARM,
        "Compliance, Legal, and Auditability Harm",
        "A duty to get approval, keep records or limit access is broken, with legal risk.",
        "claw",
    ),
)
