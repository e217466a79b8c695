DROP TABLE reelshift_quiet;
