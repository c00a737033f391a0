"""Made-up screening sets: patients with findings (patient), their breasts (anatomy, breast, texture, lesion) as DICOM
files (header), the whole set (screening_set), and what was drawn (truth).
"""
