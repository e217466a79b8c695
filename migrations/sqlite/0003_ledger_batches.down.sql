DROP TABLE reelshift_batches;
