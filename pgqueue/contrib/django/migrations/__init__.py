"""Django migrations, one for each revision of pgqueue's schema."""
