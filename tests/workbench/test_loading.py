"""The loader: nothing hides anything else, and a policy that fails its own tests is no policy."""

from pathlib import Path

import pytest

from sidecar.config.documents.merging import DocumentError
from sidecar.workbench.loading import Loaded, load, load_policy
from tests.cli.support import CONFIG, POLICY, write

FAILING = POLICY.replace("expect: allow", "expect: plan_required")


def problems(config: Path) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        load(config, {})
    return [str(each).removeprefix(f"{config.parent}/") for each in caught.value.problems]


def test_a_whole_config(tmp_path):
    loaded = load(write(tmp_path), {})
    assert isinstance(loaded, Loaded)
    assert loaded.settings.store.embedded
    assert set(loaded.policy.tools) == {"search", "reveal"}
    assert loaded.policy.tools["reveal"].rule.startswith(f"{tmp_path}/policies/p.yaml:")


def test_a_broken_config_does_not_hide_the_policy_s_problems(tmp_path):
    config = write(tmp_path, config="workers: 0\n", policy="scopes: 5\n")
    found = problems(config)
    assert (
        "config.yaml:1:10: workers: no number of processes; accepted: auto, or an integer from 1 to 256; found: 0"
        in found
    )
    assert "policies/p.yaml:1:9: scopes: an integer is given; accepted: a mapping; found: 5" in found


def test_nor_its_failing_tests(tmp_path):
    found = problems(write(tmp_path, config=CONFIG + "x: 1\n", policy=FAILING))
    assert [each.split(": ")[1] for each in found] == ["x", "tests"]


def test_policies_elsewhere_are_found_in_a_broken_config(tmp_path):
    write(tmp_path, policy="scopes: 5\n")
    config = write(tmp_path, config="workers: 0\npolicies: [other.yaml, policies/p.yaml]\n", policy="scopes: 5\n")
    (tmp_path / "other.yaml").write_text("quotas: 5\n")
    found = problems(config)
    assert "other.yaml:1:9: quotas: an integer is given; accepted: a mapping; found: 5" in found
    assert not any("policies" in each.split(": ")[1] for each in found)


def test_policies_that_cannot_be_found_are_reported_as_the_config_s_mistake(tmp_path):
    found = problems(write(tmp_path, config=CONFIG + "policies: 5\n", policy="scopes: 5\n"))
    assert found == [
        "config.yaml:5:11: policies: neither a folder nor a list of files; "
        "accepted: a path, or a list of paths; found: 5"
    ]


def test_a_tool_that_is_confirmed_on_the_account_page_needs_one(tmp_path):
    by_page = POLICY.replace("confirm: {argument: ok}", "confirm: {by: page}")
    assert by_page != POLICY
    (found,) = problems(write(tmp_path, policy=by_page))
    assert found == (
        "policies/p.yaml:22:1: tools.reveal.confirm: the config has no account_page; "
        "accepted: account_page in the config, or by: person"
    )
    assert load(write(tmp_path, config=f"{CONFIG}account_page: {{client_id: page}}\n", policy=by_page), {})


def test_a_config_that_is_not_yaml_does_not_hide_the_default_policies(tmp_path):
    found = problems(write(tmp_path, config="a: [\n", policy="scopes: 5\n"))
    assert found[0].startswith("config.yaml:1:4: not YAML")
    assert "policies/p.yaml:1:9: scopes: an integer is given; accepted: a mapping; found: 5" in found


def test_failing_tests_are_reported_at_their_lines(tmp_path):
    (found,) = problems(write(tmp_path, policy=FAILING))
    line = POLICY.splitlines().index("  - name: searching is allowed") + 1
    assert found.startswith(
        f"policies/p.yaml:{line}:1: tests: the test 'searching is allowed' expects plan_required and got allow"
    )


def test_failing_tests_can_be_left_out(tmp_path):
    config = write(tmp_path, policy=FAILING)
    assert load(config, {}, serving=False).policy.tests
    with pytest.raises(DocumentError):
        load_policy(tmp_path / "policies")


def test_the_limit_of_items_reaches_the_policy(tmp_path):
    loaded = load(write(tmp_path, config=CONFIG + "limits: {items: 7}\n"), {})
    assert loaded.policy.tools["reveal"].prices.limit == 7


def test_substituted_values_are_never_reported(tmp_path):
    config = write(tmp_path, store="unix://${SECRET}")
    with pytest.raises(DocumentError) as caught:
        load(config, {"SECRET": "hunter2"})
    assert "store.url: a unix:// URL needs the absolute path" in str(caught.value)
    assert "hunter2" not in str(caught.value)
