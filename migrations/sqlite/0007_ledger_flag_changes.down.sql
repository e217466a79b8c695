DROP TABLE reelshift_flag_changes;
