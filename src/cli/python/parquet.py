"""danaus explore export --format parquet: a JSON export on stdin becomes a Parquet file on stdout.

Exit code 3: pyarrow is not installed.
"""

import json
import sys

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:
    sys.exit(3)

points = json.load(sys.stdin)["points"]
columns = {"point": [p["point"] for p in points], "id": [p["id"] for p in points]}
for group in ("parameters", "metrics"):
    names = list(dict.fromkeys(name for p in points for name in p[group] or {}))
    for name in names:
        column = name if name not in columns else f"option.{name}"
        values = [(p[group] or {}).get(name) for p in points]
        if len({type(v) for v in values if v is not None} - {int, float}) and len({type(v) for v in values if v is not None}) > 1:
            values = [None if v is None else str(v) for v in values]  # words and numbers, as adc.energy allows
        elif any(isinstance(v, float) for v in values):
            values = [None if v is None else float(v) for v in values]
        columns[column] = values
columns["feasible"] = [p["feasible"] for p in points]
columns["pareto"] = [p["pareto"] for p in points]
columns["error"] = [p["error"]["id"] if p["error"] else None for p in points]
columns["message"] = [p["error"]["message"] if p["error"] else None for p in points]
sink = pyarrow.BufferOutputStream()
pyarrow.parquet.write_table(pyarrow.table(columns), sink)
sys.stdout.buffer.write(sink.getvalue())
