-- Shards the ledger by store over a Citus cluster. Run once with psql, as the owner of the
-- tables, after a receiver has started on the database for the first time:
--
--     psql DATABASE -v ON_ERROR_STOP=1 -f citus.sql
--
-- The rows of one store are colocated, so that each transaction of a batch or heartbeat runs on
-- one node. `alembic_version` (one row) is not distributed.
BEGIN;
SELECT create_distributed_table('tokens', 'store_id', colocate_with => 'none');
SELECT create_distributed_table('agents', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('boots', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('sessions', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('email_answers', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('rejections', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('duplicates', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('gaps', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('purged_digests', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('uncertain_times', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('hours', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('audit_log', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('reader_sessions', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('join_codes', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('authorities', 'store_id', colocate_with => 'tokens');
COMMIT;
