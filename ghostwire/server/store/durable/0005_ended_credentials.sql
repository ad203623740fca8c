-- When a pre-auth key was revoked or used up, and a token revoked; 0 before that, and where it is not known.

ALTER TABLE preauth_keys ADD COLUMN ended_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE api_tokens ADD COLUMN ended_at INTEGER NOT NULL DEFAULT 0;
