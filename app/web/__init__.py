"""What every request shares: transactions, access, problems, security headers, languages. Flask, but no domain."""
