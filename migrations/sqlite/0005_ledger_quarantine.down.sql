DROP TABLE reelshift_quarantine;
