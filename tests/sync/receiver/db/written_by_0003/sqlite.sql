-- Head office's database as written by schema 0003 (sqlite3 .dump).
BEGIN TRANSACTION;
CREATE TABLE agents (
	store_id TEXT NOT NULL, 
	till_id TEXT NOT NULL, 
	epoch TEXT NOT NULL, 
	accepted_through BIGINT NOT NULL, 
	last_sequence BIGINT NOT NULL, 
	last_seen_at TEXT, 
	agent_version TEXT, 
	enrolled_at TEXT, 
	newest_trusted_at TEXT, 
	heartbeat_at TEXT, 
	agent_sent_at TEXT, 
	watermark BIGINT, 
	outstanding BIGINT, 
	dead_letters BIGINT, 
	oldest_undelivered_at TEXT, 
	last_activity_at TEXT, 
	database_bytes BIGINT, 
	free_bytes BIGINT, heartbeat_before_at TEXT, outstanding_before BIGINT, purged_through BIGINT DEFAULT 0 NOT NULL, 
	PRIMARY KEY (store_id, till_id, epoch)
);
INSERT INTO "agents" VALUES('0042','till-1','6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b',7,7,'2026-03-04T05:06:07.000000Z','0.1.0','2026-03-04T05:06:07.000000Z','2026-03-04T04:49:33.000000Z','2026-03-04T05:06:07.000000Z','2026-03-04T05:06:07.000000Z',0,0,0,NULL,NULL,4096,1000000,NULL,NULL,0);
INSERT INTO "agents" VALUES('0042','till-1','0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4',2,2,'2026-03-04T05:06:07.000000Z','0.1.0','2026-03-04T05:06:07.000000Z','2026-03-04T04:49:29.000000Z',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
CREATE TABLE boots (
	store_id TEXT NOT NULL, 
	till_id TEXT NOT NULL, 
	boot_id TEXT NOT NULL, 
	zero_at TEXT NOT NULL, 
	PRIMARY KEY (store_id, till_id, boot_id)
);
INSERT INTO "boots" VALUES('0042','till-1','9f0d8f57-0d6e-4b0e-9d7b-0f9c7c1d1f10','2026-03-04T05:06:02.000000Z');
CREATE TABLE doubles (
	store_id TEXT NOT NULL, 
	till_id TEXT NOT NULL, 
	epoch TEXT NOT NULL, 
	sequence BIGINT NOT NULL, 
	type TEXT NOT NULL, 
	correlation_id TEXT NOT NULL, 
	received_at TEXT NOT NULL, 
	PRIMARY KEY (store_id, till_id, epoch, sequence)
);
INSERT INTO "doubles" VALUES('0042','till-1','0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4',1,'session.started','a','2026-03-04T05:06:07.000000Z');
CREATE TABLE email_answers (
	store_id TEXT NOT NULL, 
	till_id TEXT NOT NULL, 
	epoch TEXT NOT NULL, 
	sequence BIGINT NOT NULL, 
	correlation_id TEXT NOT NULL, 
	status TEXT NOT NULL, 
	email_address TEXT, 
	address_erased BOOLEAN NOT NULL, 
	body TEXT NOT NULL, 
	occurred_at TEXT NOT NULL, 
	received_at TEXT NOT NULL, 
	corrected_at TEXT, 
	clock_trusted BOOLEAN NOT NULL, 
	PRIMARY KEY (store_id, till_id, epoch, sequence)
);
INSERT INTO "email_answers" VALUES('0042','till-1','6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b',4,'a','accepted',NULL,1,'{"status":"accepted"}','2026-03-04T04:49:31.000000Z','2026-03-04T05:06:07.000000Z','2026-03-04T04:49:31.000000Z',1);
INSERT INTO "email_answers" VALUES('0042','till-1','6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b',5,'b','accepted','guest@example.com',0,'{"status":"accepted"}','2026-03-04T04:49:32.000000Z','2026-03-04T05:06:07.000000Z','2026-03-04T04:49:32.000000Z',1);
CREATE TABLE gaps (
	store_id TEXT NOT NULL, 
	till_id TEXT NOT NULL, 
	epoch TEXT NOT NULL, 
	first_sequence BIGINT NOT NULL, 
	last_sequence BIGINT NOT NULL, 
	reason TEXT NOT NULL, 
	noted_at TEXT NOT NULL, 
	PRIMARY KEY (store_id, till_id, epoch, first_sequence)
);
INSERT INTO "gaps" VALUES('0042','till-1','6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b',1,2,'no longer held','2026-03-04T05:06:07.000000Z');
INSERT INTO "gaps" VALUES('0042','till-1','6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b',4,4,'address erased before it could be sent again','2026-03-04T05:06:07.000000Z');
CREATE TABLE hours (
	store_id TEXT NOT NULL, 
	till_id TEXT NOT NULL, 
	hour TEXT NOT NULL, 
	sessions BIGINT NOT NULL, 
	accepted BIGINT NOT NULL, 
	"deferred" BIGINT NOT NULL, 
	declined BIGINT NOT NULL, 
	other_answers BIGINT NOT NULL, 
	arrived BIGINT NOT NULL, 
	lag_seconds BIGINT NOT NULL, 
	longest_lag_seconds BIGINT NOT NULL, 
	PRIMARY KEY (store_id, till_id, hour)
);
INSERT INTO "hours" VALUES('0042','till-1','2026-03-04T04:00:00.000000Z',3,2,0,0,0,0,0,0);
INSERT INTO "hours" VALUES('0042','till-1','2026-03-04T05:00:00.000000Z',0,0,0,0,0,5,4980,998);
CREATE TABLE rejections (
	store_id TEXT NOT NULL, 
	till_id TEXT NOT NULL, 
	epoch TEXT NOT NULL, 
	sequence BIGINT NOT NULL, 
	type TEXT NOT NULL, 
	correlation_id TEXT NOT NULL, 
	error_code TEXT NOT NULL, 
	error_message TEXT NOT NULL, 
	received_at TEXT NOT NULL, 
	PRIMARY KEY (store_id, till_id, epoch, sequence)
);
INSERT INTO "rejections" VALUES('0042','till-1','6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b',7,'points.spent','d','UNKNOWN_TYPE','This type of event is not known here','2026-03-04T05:06:07.000000Z');
CREATE TABLE sessions (
	store_id TEXT NOT NULL, 
	till_id TEXT NOT NULL, 
	epoch TEXT NOT NULL, 
	sequence BIGINT NOT NULL, 
	correlation_id TEXT NOT NULL, 
	external_identifier TEXT, 
	channel TEXT, 
	locale TEXT, 
	anonymous_session_id TEXT, 
	user_status TEXT, 
	query_locale TEXT, 
	body TEXT NOT NULL, 
	occurred_at TEXT NOT NULL, 
	received_at TEXT NOT NULL, 
	corrected_at TEXT, 
	clock_trusted BOOLEAN NOT NULL, 
	PRIMARY KEY (store_id, till_id, epoch, sequence)
);
INSERT INTO "sessions" VALUES('0042','till-1','6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b',3,'a',NULL,'pos',NULL,NULL,NULL,NULL,'{"correlationId": "a", "channel": "pos"}','2026-03-04T04:49:30.000000Z','2026-03-04T05:06:07.000000Z','2026-03-04T04:49:30.000000Z',1);
INSERT INTO "sessions" VALUES('0042','till-1','6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b',6,'c',NULL,'pos',NULL,NULL,NULL,NULL,'{"correlationId": "c", "channel": "pos"}','2026-03-04T04:49:33.000000Z','2026-03-04T05:06:07.000000Z','2026-03-04T04:49:33.000000Z',1);
INSERT INTO "sessions" VALUES('0042','till-1','0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4',2,'e',NULL,'pos',NULL,NULL,NULL,NULL,'{"correlationId": "e", "channel": "pos"}','2026-03-04T04:49:29.000000Z','2026-03-04T05:06:07.000000Z','2026-03-04T04:49:29.000000Z',1);
CREATE TABLE tokens (
	store_id TEXT NOT NULL, 
	till_id TEXT NOT NULL, 
	token_hash TEXT NOT NULL, 
	generation BIGINT NOT NULL, 
	enrolled_at TEXT NOT NULL, 
	first_used_at TEXT, 
	PRIMARY KEY (store_id, till_id, token_hash)
);
INSERT INTO "tokens" VALUES('0042','till-1','ee3c498822d4255c98aa5b98dae2fe187b35b86e9dadc4ceecc4800f2e40a8ac',1,'2026-03-04T05:06:07.000000Z',NULL);
CREATE UNIQUE INDEX sessions_by_correlation_id ON sessions (store_id, correlation_id);
CREATE INDEX email_answers_by_correlation_id ON email_answers (store_id, correlation_id);
CREATE INDEX rejections_by_correlation_id ON rejections (store_id, correlation_id);
CREATE INDEX hours_by_hour ON hours (hour);
COMMIT;
