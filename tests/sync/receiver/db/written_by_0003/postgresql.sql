-- Head office's database as written by schema 0003 (pg_dump).
CREATE TABLE agents (
    store_id text NOT NULL,
    till_id text NOT NULL,
    epoch text NOT NULL,
    accepted_through bigint NOT NULL,
    last_sequence bigint NOT NULL,
    last_seen_at timestamp with time zone,
    agent_version text,
    enrolled_at timestamp with time zone,
    newest_trusted_at timestamp with time zone,
    heartbeat_at timestamp with time zone,
    agent_sent_at timestamp with time zone,
    watermark bigint,
    outstanding bigint,
    dead_letters bigint,
    oldest_undelivered_at timestamp with time zone,
    last_activity_at timestamp with time zone,
    database_bytes bigint,
    free_bytes bigint,
    heartbeat_before_at timestamp with time zone,
    outstanding_before bigint,
    purged_through bigint DEFAULT 0 NOT NULL
);
CREATE TABLE alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE boots (
    store_id text NOT NULL,
    till_id text NOT NULL,
    boot_id text NOT NULL,
    zero_at timestamp with time zone NOT NULL
);
CREATE TABLE doubles (
    store_id text NOT NULL,
    till_id text NOT NULL,
    epoch text NOT NULL,
    sequence bigint NOT NULL,
    type text NOT NULL,
    correlation_id text NOT NULL,
    received_at timestamp with time zone NOT NULL
);
CREATE TABLE email_answers (
    store_id text NOT NULL,
    till_id text NOT NULL,
    epoch text NOT NULL,
    sequence bigint NOT NULL,
    correlation_id text NOT NULL,
    status text NOT NULL,
    email_address text,
    address_erased boolean NOT NULL,
    body text NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    corrected_at timestamp with time zone,
    clock_trusted boolean NOT NULL
);
CREATE TABLE gaps (
    store_id text NOT NULL,
    till_id text NOT NULL,
    epoch text NOT NULL,
    first_sequence bigint NOT NULL,
    last_sequence bigint NOT NULL,
    reason text NOT NULL,
    noted_at timestamp with time zone NOT NULL
);
CREATE TABLE hours (
    store_id text NOT NULL,
    till_id text NOT NULL,
    hour timestamp with time zone NOT NULL,
    sessions bigint NOT NULL,
    accepted bigint NOT NULL,
    deferred bigint NOT NULL,
    declined bigint NOT NULL,
    other_answers bigint NOT NULL,
    arrived bigint NOT NULL,
    lag_seconds bigint NOT NULL,
    longest_lag_seconds bigint NOT NULL
);
CREATE TABLE rejections (
    store_id text NOT NULL,
    till_id text NOT NULL,
    epoch text NOT NULL,
    sequence bigint NOT NULL,
    type text NOT NULL,
    correlation_id text NOT NULL,
    error_code text NOT NULL,
    error_message text NOT NULL,
    received_at timestamp with time zone NOT NULL
);
CREATE TABLE sessions (
    store_id text NOT NULL,
    till_id text NOT NULL,
    epoch text NOT NULL,
    sequence bigint NOT NULL,
    correlation_id text NOT NULL,
    external_identifier text,
    channel text,
    locale text,
    anonymous_session_id text,
    user_status text,
    query_locale text,
    body text NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    corrected_at timestamp with time zone,
    clock_trusted boolean NOT NULL
);
CREATE TABLE tokens (
    store_id text NOT NULL,
    till_id text NOT NULL,
    token_hash text NOT NULL,
    generation bigint NOT NULL,
    enrolled_at timestamp with time zone NOT NULL,
    first_used_at timestamp with time zone
);
INSERT INTO agents VALUES ('0042', 'till-1', '6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b', 7, 7, '2026-03-04 05:06:07+00', '0.1.0', '2026-03-04 05:06:07+00', '2026-03-04 04:49:33+00', '2026-03-04 05:06:07+00', '2026-03-04 05:06:07+00', 0, 0, 0, NULL, NULL, 4096, 1000000, NULL, NULL, 0);
INSERT INTO agents VALUES ('0042', 'till-1', '0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4', 2, 2, '2026-03-04 05:06:07+00', '0.1.0', '2026-03-04 05:06:07+00', '2026-03-04 04:49:29+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0);
INSERT INTO alembic_version VALUES ('0003');
INSERT INTO boots VALUES ('0042', 'till-1', '9f0d8f57-0d6e-4b0e-9d7b-0f9c7c1d1f10', '2026-03-04 05:06:02+00');
INSERT INTO doubles VALUES ('0042', 'till-1', '0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4', 1, 'session.started', 'a', '2026-03-04 05:06:07+00');
INSERT INTO email_answers VALUES ('0042', 'till-1', '6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b', 4, 'a', 'accepted', NULL, true, '{"status":"accepted"}', '2026-03-04 04:49:31+00', '2026-03-04 05:06:07+00', '2026-03-04 04:49:31+00', true);
INSERT INTO email_answers VALUES ('0042', 'till-1', '6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b', 5, 'b', 'accepted', 'guest@example.com', false, '{"status":"accepted"}', '2026-03-04 04:49:32+00', '2026-03-04 05:06:07+00', '2026-03-04 04:49:32+00', true);
INSERT INTO gaps VALUES ('0042', 'till-1', '6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b', 1, 2, 'no longer held', '2026-03-04 05:06:07+00');
INSERT INTO gaps VALUES ('0042', 'till-1', '6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b', 4, 4, 'address erased before it could be sent again', '2026-03-04 05:06:07+00');
INSERT INTO hours VALUES ('0042', 'till-1', '2026-03-04 04:00:00+00', 3, 2, 0, 0, 0, 0, 0, 0);
INSERT INTO hours VALUES ('0042', 'till-1', '2026-03-04 05:00:00+00', 0, 0, 0, 0, 0, 5, 4980, 998);
INSERT INTO rejections VALUES ('0042', 'till-1', '6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b', 7, 'points.spent', 'd', 'UNKNOWN_TYPE', 'This type of event is not known here', '2026-03-04 05:06:07+00');
INSERT INTO sessions VALUES ('0042', 'till-1', '6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b', 3, 'a', NULL, 'pos', NULL, NULL, NULL, NULL, '{"correlationId": "a", "channel": "pos"}', '2026-03-04 04:49:30+00', '2026-03-04 05:06:07+00', '2026-03-04 04:49:30+00', true);
INSERT INTO sessions VALUES ('0042', 'till-1', '6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b', 6, 'c', NULL, 'pos', NULL, NULL, NULL, NULL, '{"correlationId": "c", "channel": "pos"}', '2026-03-04 04:49:33+00', '2026-03-04 05:06:07+00', '2026-03-04 04:49:33+00', true);
INSERT INTO sessions VALUES ('0042', 'till-1', '0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4', 2, 'e', NULL, 'pos', NULL, NULL, NULL, NULL, '{"correlationId": "e", "channel": "pos"}', '2026-03-04 04:49:29+00', '2026-03-04 05:06:07+00', '2026-03-04 04:49:29+00', true);
INSERT INTO tokens VALUES ('0042', 'till-1', 'ee3c498822d4255c98aa5b98dae2fe187b35b86e9dadc4ceecc4800f2e40a8ac', 1, '2026-03-04 05:06:07+00', NULL);
ALTER TABLE ONLY agents
    ADD CONSTRAINT agents_pkey PRIMARY KEY (store_id, till_id, epoch);
ALTER TABLE ONLY alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY boots
    ADD CONSTRAINT boots_pkey PRIMARY KEY (store_id, till_id, boot_id);
ALTER TABLE ONLY doubles
    ADD CONSTRAINT doubles_pkey PRIMARY KEY (store_id, till_id, epoch, sequence);
ALTER TABLE ONLY email_answers
    ADD CONSTRAINT email_answers_pkey PRIMARY KEY (store_id, till_id, epoch, sequence);
ALTER TABLE ONLY gaps
    ADD CONSTRAINT gaps_pkey PRIMARY KEY (store_id, till_id, epoch, first_sequence);
ALTER TABLE ONLY hours
    ADD CONSTRAINT hours_pkey PRIMARY KEY (store_id, till_id, hour);
ALTER TABLE ONLY rejections
    ADD CONSTRAINT rejections_pkey PRIMARY KEY (store_id, till_id, epoch, sequence);
ALTER TABLE ONLY sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (store_id, till_id, epoch, sequence);
ALTER TABLE ONLY tokens
    ADD CONSTRAINT tokens_pkey PRIMARY KEY (store_id, till_id, token_hash);
CREATE INDEX email_answers_by_correlation_id ON email_answers USING btree (store_id, correlation_id);
CREATE INDEX hours_by_hour ON hours USING btree (hour);
CREATE INDEX rejections_by_correlation_id ON rejections USING btree (store_id, correlation_id);
CREATE UNIQUE INDEX sessions_by_correlation_id ON sessions USING btree (store_id, correlation_id);
