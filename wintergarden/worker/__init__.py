"""What every worker of jobs does the same way: take, supervise, repair, sweep.

A room brings its kinds of jobs (`duties.Duties`) and the process that does one (`child.serve`).
Knows no model, no torch and no transport; `wintergarden.jobs` knows Redis for it.
"""
