"""What results are measured with: one mathematical object a module, each citing its source."""
