"""The life of an equipment over HTTP: corrected, renamed, retired, replaced; what becomes of alarms and history."""
