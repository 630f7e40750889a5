"""The demo's policy is the shipped one, with limits that a short story reaches."""

from pathlib import Path

import yaml

from demo.files import POLICY

SHIPPED = Path(__file__).parents[2] / "policies" / "storeinspect.yaml"


def test_the_demo_runs_on_the_shipped_policy():
    shipped, demo = yaml.safe_load(SHIPPED.read_text()), yaml.safe_load(POLICY)
    for section in ("scopes", "consent", "manage_url", "listing", "credits", "defaults"):
        assert demo[section] == shipped[section]
    assert list(demo["tools"]) == list(shipped["tools"])
    for name, tool in shipped["tools"].items():
        for key in ("scopes", "uses", "spends", "rows", "serve"):
            assert demo["tools"][name].get(key) == tool.get(key), (name, key)
        # The demo's account holder confirms on the account page, too.
        confirm, also = tool.get("confirm", {}), demo["tools"][name].get("confirm", {})
        assert also.get("argument") == confirm.get("argument"), name
