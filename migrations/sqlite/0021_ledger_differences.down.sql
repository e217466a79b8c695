DROP TABLE reelshift_differences;
