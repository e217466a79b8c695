DROP TABLE reelshift_runs;
