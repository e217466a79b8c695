-- creates: trigger tr_reelshift_bridge_after_delete
-- Where an application has not switched foreign keys on, nothing cascades.
CREATE TRIGGER tr_reelshift_bridge_after_delete
AFTER DELETE ON videos FOR EACH ROW
BEGIN
    DELETE FROM video_processing_status WHERE video_id = OLD.id;
    UPDATE processing_error_log SET parent_error_id = NULL
    WHERE parent_error_id IN (SELECT id FROM processing_error_log WHERE video_id = OLD.id);
    DELETE FROM processing_error_log WHERE video_id = OLD.id;
END;
