"""REST for operators: `/v1`, problem documents, scopes. Who asks is settled before a route is looked at."""
