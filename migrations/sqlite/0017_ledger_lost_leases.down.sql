DROP TABLE reelshift_lost_leases;
