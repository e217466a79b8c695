DROP TABLE reelshift_rollbacks;
