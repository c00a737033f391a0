"""Who a patient is: ids in several spellings, rules that cannot be right, pseudonyms, and splits by patient."""
