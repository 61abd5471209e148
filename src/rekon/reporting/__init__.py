"""What comes out: tables, figures, the scorecard, the report, tracked runs, versions of data and weights."""
