"""Files that travel with the package: detector models, default weights, their licences."""
