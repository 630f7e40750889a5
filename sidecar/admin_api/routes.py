"""All routes of the API; the OpenAPI document has them in this order."""

from __future__ import annotations

from typing import Final

from sidecar.admin_api.operations import account_routes, consent_routes, credit_routes, journal_routes, usage_routes
from sidecar.admin_api.route_table import Route

ROUTES: Final[tuple[Route, ...]] = (
    *account_routes.ROUTES,
    *consent_routes.ROUTES,
    *credit_routes.ROUTES,
    *usage_routes.ROUTES,
    *journal_routes.ROUTES,
)
