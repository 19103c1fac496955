"""What a person looks at: logs, tables, plots."""
