"""What connectors share that read and write messages: values as columns and back, schema registries, staging."""
