"""What `genixer run` does, in Python: run a config, look at the funnel, prove it, read rows.

Command:  python examples/ten_lines.py
"""

import genixer

for step in genixer.plan("smoke").steps:
    print(step.name, step.status)

result = genixer.run("smoke", ["seed=11"], out="runs/ten_lines", workers=2)
print(result.table)
print(result.rows("dedup", 3))

report = genixer.verify("runs/ten_lines")
print("whole" if report.ok else report.problems)
