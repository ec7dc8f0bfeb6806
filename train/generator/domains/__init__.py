"""The worlds of the grammar, one file each."""

from __future__ import annotations

from stepguard.train.generator.domains.bank import BANK
from stepguard.train.generator.domains.chat import CHAT
from stepguard.train.generator.domains.coding import CODING
from stepguard.train.generator.domains.desk import DESK
from stepguard.train.generator.domains.files import FILES
from stepguard.train.generator.domains.health import HEALTH
from stepguard.train.generator.domains.mail import MAIL
from stepguard.train.generator.domains.ops import OPS
from stepguard.train.generator.domains.plans import PLANS
from stepguard.train.generator.domains.shop import SHOP
from stepguard.train.generator.domains.travel import TRAVEL
from stepguard.train.generator.domains.web import WEB

__all__ = ["DOMAINS"]

DOMAINS = (
    BANK, CHAT, CODING, DESK, FILES, HEALTH, MAIL, OPS, PLANS, SHOP, TRAVEL, WEB,
)  # fmt: skip
