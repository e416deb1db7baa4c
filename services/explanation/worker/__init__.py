"""Long explanations and attacks as jobs: `python -m services.explanation.worker`.

`wintergarden.worker` takes and supervises the jobs; `child` and `job` do them, in processes of
their own.
"""
