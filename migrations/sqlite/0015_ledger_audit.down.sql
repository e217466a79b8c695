DROP TABLE reelshift_audit;
