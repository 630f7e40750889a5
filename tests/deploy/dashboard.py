"""Dashboard of Grafana, made by Grafana's own builder, which knows its schema.

    python -m tests.deploy.dashboard            exit status 1 if deploy/grafana/dashboard.json differs
    python -m tests.deploy.dashboard --write    bring it up to date

`panels` says what is shown. Every query is run against a Prometheus by test_dashboard.py.
"""

from __future__ import annotations

import json
import sys
from itertools import count
from pathlib import Path
from typing import Any, Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import BigValueTextMode, LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

from tests.deploy.panels import ROWS, Panel

FILE: Final = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboard.json"
_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
_COLUMNS: Final = 24  # of Grafana's grid
_STAT: Final = (4, 4)  # width and height
_GRAPH: Final = (8, 8)


def made() -> str:
    """Return the dashboard as JSON."""
    builder = (
        dashboard.Dashboard("MCP policy sidecar")
        .uid("mcp-policy-sidecar")
        .tags(["mcp-policy-sidecar"])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .readonly()
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_variable("job", "label_values(mcp_sidecar_build_info, job)"))
        .with_variable(_variable("instance", 'label_values(mcp_sidecar_build_info{job=~"$job"}, instance)'))
    )
    numbers = count(1)
    for title, panels in ROWS.items():
        builder = builder.with_row(dashboard.Row(title).id(next(numbers)))
        for panel in panels:
            builder = builder.with_panel(_panel(panel).id(next(numbers)))
    return json.dumps(builder.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _variable(name: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .datasource(_SOURCE)
        .query(query)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )


def _panel(panel: Panel) -> Any:
    made_panel: Any = stat.Panel() if panel.single else timeseries.Panel()
    made_panel = made_panel.title(panel.title).description(panel.about).unit(panel.unit).datasource(_SOURCE).min(0)
    width, height = _STAT if panel.single else _GRAPH
    made_panel = made_panel.span(width).height(height)
    if panel.single:
        made_panel = made_panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        if panel.names:
            made_panel = made_panel.text_mode(BigValueTextMode.NAME)
    else:
        legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
        made_panel = made_panel.legend(legend.show_legend(True)).fill_opacity(8)
    for number, (query, name) in enumerate(panel.queries.items()):
        target = prometheus.Dataquery().expr(query).legend_format(name).ref_id(chr(ord("A") + number))
        made_panel = made_panel.with_target(
            target.instant() if panel.single else target.range().exemplar(panel.exemplars)
        )
    return made_panel


def main(arguments: list[str]) -> int:
    """Write or compare the file."""
    found = FILE.read_text("utf-8") if FILE.exists() else ""
    text = made()
    if "--write" in arguments:
        FILE.write_text(text, "utf-8")
        return 0
    return int(found != text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
