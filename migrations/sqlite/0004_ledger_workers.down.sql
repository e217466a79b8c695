DROP TABLE reelshift_workers;
