"""The log beside the journal, as ha.cf's logging directives say."""
