DROP TABLE reelshift_schema_steps;
