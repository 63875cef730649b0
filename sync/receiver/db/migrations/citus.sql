-- Spreads the ledger over the machines of a Citus cluster, by store. Run once, by psql, as the
-- owner of the tables, after a receiver has started on the database for the first time:
--
--     psql DATABASE -v ON_ERROR_STOP=1 -f citus.sql
--
-- The rows of one store stay together (colocate_with), so that every transaction of a batch
-- or heartbeat is one of a single machine. `alembic_version` (one row) stays where it is.
BEGIN;
SELECT create_distributed_table('tokens', 'store_id', colocate_with => 'none');
SELECT create_distributed_table('agents', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('boots', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('sessions', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('email_answers', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('rejections', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('doubles', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('gaps', 'store_id', colocate_with => 'tokens');
SELECT create_distributed_table('hours', 'store_id', colocate_with => 'tokens');
COMMIT;
