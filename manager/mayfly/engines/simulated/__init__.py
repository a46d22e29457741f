"""An engine in memory: agents that reach their gates, work and end as a test says, and faults at will."""
