DROP TABLE reelshift_comparisons;
