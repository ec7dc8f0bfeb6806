"""Pools that every domain shares."""

from __future__ import annotations

# fmt: off
_FIRST = (
    "Anna", "Ben", "Clara", "David", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kavya",
    "Leo", "Mira", "Noah", "Olga", "Pavel", "Quinn", "Rosa", "Samir", "Tara", "Umar", "Vera",
    "Wen", "Ximena", "Yara", "Zoe", "Marta", "Stefan", "Ivana", "Tomas",
)
_LAST = (
    "Berger", "Novak", "Okafor", "Lindqvist", "Moreau", "Tanaka", "Silva", "Hartmann", "Petrov",
    "Demir", "Costa", "Jensen", "Weber", "Rossi", "Kowalski", "Ahmadi", "Fischer", "Marin",
    "Nakamura", "Brandt", "Eriksen", "Duarte", "Lang", "Horvat", "Sato",
)

POOLS: dict[str, tuple[str, ...]] = {
    "person": tuple(f"{first} {last}" for first in _FIRST for last in _LAST),
    "org": (
        "Norvik Systems", "Alder and Pine", "Bluewater Freight", "Kestrel Labs", "Orchard Media",
        "Tessera Works", "Halden Optics", "Quarry Street Studio", "Meridian Foods", "Lumen Print",
    ),
    "company": (
        "Lindner Office Supplies", "Hafen Logistics", "Brightside Catering", "Torque Rentals",
        "Papierhaus Keller", "Solis Energy", "Corvus Hosting", "Delta Cleaning", "Fennel Travel",
        "Granite Insurance", "Ostsee Fish Trade", "Pixelmill", "Redwood Furniture", "Vela Telecom",
        "Zephyr Couriers", "Aster Chemicals", "Northgate Steel", "Juniper Events",
    ),
    "mailbox": (
        "office", "archive", "records", "service", "billing", "team", "intake", "support", "desk",
        "contact", "accounts", "documents", "review", "info", "orders", "audit", "backup",
    ),
    "site": (
        "fieldnote.example", "openledger.example", "cartwheel.example", "mailstack.example",
        "brightpath.example", "docvault.example", "harborpoint.example", "claywork.example",
        "silverline.example", "onthegrid.example", "parcelio.example", "northdesk.example",
        "tidewater.example", "quickform.example", "papertrail.example", "greenfold.example",
    ),
    "page": ("share", "upload", "forms", "docs", "help", "news", "status", "p", "view", "files"),
    "folder": (
        "/home/user/documents", "/srv/share/finance", "/srv/share/projects", "/data/reports",
        "/home/user/work", "/data/archive/2024", "/srv/share/hr", "/home/user/downloads",
    ),
    "file": (
        "q3_report.xlsx", "contracts.pdf", "minutes_0412.md", "budget_v2.xlsx", "roadmap.docx",
        "suppliers.csv", "payroll_june.csv", "holiday_plan.ods", "offer_draft.docx", "photos.zip",
        "inventory.csv", "press_kit.zip", "interviews.txt", "floor_plan.pdf", "customers.csv",
        "old_logs.tar.gz", "tax_2024.pdf", "thesis_final.tex", "slides_kickoff.pptx", "notes.md",
    ),
    "weekday": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday"),
    "city": (
        "Lisbon", "Gdansk", "Lyon", "Bergen", "Turin", "Graz", "Porto", "Malmo", "Ghent", "Zagreb",
        "Leipzig", "Seville", "Aarhus", "Brno", "Utrecht",
    ),
    "topic": (
        "the office move", "the spring campaign", "the supplier audit", "the new intranet",
        "the customer survey", "the budget round", "the trade fair", "the data migration",
        "the summer party", "the pricing review", "the hiring plan", "the website relaunch",
    ),
}
