DROP TABLE reelshift_samples;
