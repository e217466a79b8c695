DROP TABLE reelshift_controls;
