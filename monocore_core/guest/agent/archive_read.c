int archive_placeholder;
