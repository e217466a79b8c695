DROP TABLE reelshift_flags
