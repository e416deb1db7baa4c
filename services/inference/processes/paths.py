"""The calls between parent and children that Triton's protocol has no name for."""

LOOK = "/wintergarden.Parent/Look"
CONFIGURATION = "/wintergarden.Parent/Configuration"
LABELS = "/wintergarden.Parent/Labels"
MEET = "/wintergarden.Parent/Meet"
COMPLETE = "/wintergarden.Parent/Complete"
METRICS = "/wintergarden.Child/Metrics"
