package pull

// SetReached has f told of each point at which a crash would be worst.
func (o *Options) SetReached(f func(point string)) { o.reached = f }
