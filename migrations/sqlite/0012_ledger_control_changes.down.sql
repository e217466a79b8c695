DROP TABLE reelshift_control_changes;
