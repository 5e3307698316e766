"""ha.cf, haresources, authkeys and hbd.cf: text in, frozen values and findings out."""
