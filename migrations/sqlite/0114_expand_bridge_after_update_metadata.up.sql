-- creates: trigger tr_reelshift_bridge_after_update_metadata
-- Metadata follow their legacy column while they hold what it held. A hash is that of the
-- file that was read: with another path or size it is another's.
CREATE TRIGGER tr_reelshift_bridge_after_update_metadata
AFTER UPDATE ON videos FOR EACH ROW
WHEN NEW.filename IS NOT OLD.filename OR NEW.file_path IS NOT OLD.file_path
    OR NEW.file_size IS NOT OLD.file_size
BEGIN
    UPDATE videos SET original_filename = NEW.filename
    WHERE id = NEW.id AND NEW.filename IS NOT OLD.filename
        AND (NEW.original_filename IS NULL
            OR (NEW.original_filename = OLD.filename AND OLD.original_filename = OLD.filename));
    UPDATE videos SET file_mime_type = CASE
            WHEN LOWER(NEW.filename) LIKE '%.mp4' THEN 'video/mp4'
            WHEN LOWER(NEW.filename) LIKE '%.avi' THEN 'video/avi'
            WHEN LOWER(NEW.filename) LIKE '%.mov' THEN 'video/quicktime'
            WHEN LOWER(NEW.filename) LIKE '%.mkv' THEN 'video/x-matroska'
            ELSE 'video/unknown' END
    WHERE id = NEW.id AND NEW.filename IS NOT OLD.filename
        AND (NEW.file_mime_type IS NULL
            OR (NEW.file_mime_type = OLD.file_mime_type AND NEW.file_mime_type = CASE
                WHEN LOWER(OLD.filename) LIKE '%.mp4' THEN 'video/mp4'
                WHEN LOWER(OLD.filename) LIKE '%.avi' THEN 'video/avi'
                WHEN LOWER(OLD.filename) LIKE '%.mov' THEN 'video/quicktime'
                WHEN LOWER(OLD.filename) LIKE '%.mkv' THEN 'video/x-matroska'
                ELSE 'video/unknown' END));
    UPDATE videos SET storage_location = NEW.file_path
    WHERE id = NEW.id AND NEW.file_path IS NOT OLD.file_path
        AND (NEW.storage_location IS NULL
            OR (NEW.storage_location = OLD.file_path AND OLD.storage_location = OLD.file_path));
    UPDATE videos SET file_hash = NULL
    WHERE id = NEW.id AND NEW.file_hash IS NOT NULL AND NEW.file_hash IS OLD.file_hash
        AND (NEW.file_path IS NOT OLD.file_path OR NEW.file_size IS NOT OLD.file_size);
END;
