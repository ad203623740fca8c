-- Every SQL block of the store's roadmap. A line with its name starts a block; each runs in a store of its own.

-- block: json
CREATE TABLE sessions (id INTEGER, metadata JSON);
INSERT INTO sessions VALUES (1, '{"user_id": 123, "permissions": ["read", "write"]}');
SELECT json_extract(metadata, '$.user_id') FROM sessions;
SELECT * FROM sessions WHERE json_extract(metadata, '$.permissions') LIKE '%admin%';

-- block: indexes
-- Automatic index creation and optimization
CREATE INDEX idx_user_sessions ON sessions(user_id);
CREATE UNIQUE INDEX idx_vpn_nodes ON vpn_nodes(node_id);
-- Hash indexes for crypto lookups
CREATE HASH INDEX idx_wallet_address ON wallets(address);

-- block: encrypted-column
CREATE TABLE users (id INTEGER, email TEXT, private_key ENCRYPTED TEXT);

-- block: blobs
CREATE TABLE ai_models (id INTEGER, model_data BLOB, metadata JSON);
CREATE TABLE vpn_certs (node_id TEXT, certificate BLOB, private_key BLOB);

-- block: triggers
-- Automatic cleanup and validation
CREATE TRIGGER cleanup_sessions
  AFTER UPDATE ON users
  WHEN NEW.last_seen < datetime('now', '-24 hours')
  DELETE FROM sessions WHERE user_id = NEW.id;

-- Constraints for data validation
ALTER TABLE wallets ADD CONSTRAINT valid_balance CHECK (balance >= 0);

-- block: full-text
CREATE VIRTUAL TABLE documents USING fts5(title, content);
INSERT INTO documents VALUES ('Setup Guide', 'How to configure GhostMesh VPN...');
SELECT * FROM documents WHERE documents MATCH 'vpn configuration';

-- block: views-and-ctes
-- Complex analytics for crypto trading
WITH daily_trades AS (
  SELECT date(timestamp) as day, sum(amount) as volume
  FROM transactions
  GROUP BY date(timestamp)
)
SELECT * FROM daily_trades WHERE volume > 10000;

-- Views for common VPN queries
CREATE VIEW active_nodes AS
  SELECT * FROM vpn_nodes WHERE last_ping > datetime('now', '-5 minutes');

-- block: time-series
CREATE TABLE metrics (timestamp TIMESTAMP, node_id TEXT, cpu_usage REAL, memory_usage REAL);
SELECT avg(cpu_usage) FROM metrics
  WHERE timestamp > datetime('now', '-1 hour')
  GROUP BY time_bucket('5 minutes', timestamp);

-- block: spatial
CREATE TABLE vpn_servers (id INTEGER, location POINT, coverage POLYGON);
SELECT * FROM vpn_servers WHERE ST_Distance(location, user_location) < 1000;

-- block: events
CREATE TABLE events (id INTEGER, aggregate_id TEXT, event_type TEXT,
                     event_data JSON, timestamp TIMESTAMP);
-- Replay events to rebuild state

-- block: vpn
CREATE TABLE vpn_nodes (
    node_id TEXT PRIMARY KEY,
    ip_address TEXT,
    location JSON,  -- {"country": "US", "city": "New York", "lat": 40.7128, "lng": -74.0060}
    status TEXT,
    last_ping TIMESTAMP,
    certificates BLOB
);

-- User sessions
CREATE TABLE vpn_sessions (
    session_id TEXT PRIMARY KEY,
    user_id INTEGER,
    node_id TEXT,
    connected_at TIMESTAMP,
    bytes_transferred INTEGER,
    FOREIGN KEY (node_id) REFERENCES vpn_nodes(node_id)
);

-- block: crypto
-- Wallet management
CREATE TABLE wallets (
    address TEXT PRIMARY KEY,
    private_key ENCRYPTED BLOB,  -- Encrypted storage
    balance DECIMAL(18,8),
    metadata JSON  -- {"network": "bitcoin", "derivation_path": "m/44'/0'/0'/0/0"}
);

-- Transaction history
CREATE TABLE transactions (
    tx_hash TEXT PRIMARY KEY,
    from_address TEXT,
    to_address TEXT,
    amount DECIMAL(18,8),
    timestamp TIMESTAMP,
    block_number INTEGER,
    status TEXT
);
