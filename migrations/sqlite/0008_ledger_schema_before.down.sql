DROP TABLE reelshift_schema_before;
