DROP TABLE reelshift_duties;
