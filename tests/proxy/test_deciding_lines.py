"""The log names the line that decided a refusal of gates 5-7."""

from tests.proxy.support import Launch

POLICY = """\
scopes: {read: Read.}
quotas: {calls: {day: 1}}
credits: {coin: One.}
plans:
  small: {tools: [free]}
  large: {}
tools:
  free: {scopes: []}
  dear:
    scopes: []
    uses: {calls: 2}
  bought:
    scopes:
      - read
    spends: {coin: 1}
"""


async def test_a_refusal_names_the_line_of_its_amount_plan_or_scopes(launch: Launch):
    rig = await launch(policy=POLICY)
    await rig.account("ada", plan="large")
    await rig.grant(scopes=[])
    await rig.call("dear", {})
    await rig.call("bought", {}, token=rig.issuer.mint(scopes=["read"]))
    await rig.grant()
    await rig.call("bought", {}, token=rig.issuer.mint(scopes=["read"]))
    await rig.account("ada", plan="small")
    await rig.call("dear", {})
    lines = [(line["code"], line["rule"].rpartition(":")[2]) for line in await rig.recorded(4)]
    assert sorted(lines) == [
        ("insufficient_credits", "15"),
        ("insufficient_scope", "13"),
        ("plan_required", "5"),
        ("quota_exceeded", "11"),
    ]
